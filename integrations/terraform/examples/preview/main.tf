variable "function" {
  type = string
}

variable "branch" {
  type    = string
  default = "main"
}

module "previews" {
  source = "../../service"

  function    = var.function
  name        = "previews"
  start       = 6000
  end         = 6099
  description = "One host's previews"
}

module "web" {
  source = "../../port"

  function   = var.function
  service    = module.previews.name
  name       = "preview-${var.branch}"
  ports      = ["http", "grpc"]
  contiguous = true
  labels     = { branch = var.branch }
}

output "listen" {
  value = { for part, port in module.web.ports : part => "0.0.0.0:${port}" }
}
