variable "function" {
  description = "The registry's function for stacks: the output CustomResourceFunctionArn of its own stack."
  type        = string
}

variable "service" {
  description = "The service whose port is taken. The registry's parameter CustomResourcePorts has to list it."
  type        = string
}

variable "namespace" {
  description = "The service's namespace."
  type        = string
  default     = "default"
}

variable "name" {
  description = "Whose port it is: at most 64 of letters, digits, and . _ ~ - between them. Nobody else can have it."
  type        = string
}

variable "owner" {
  description = <<-EOT
    Who holds the port. Whoever says the same name and owner gets the same port, and may release it, so leave this out
    unless a port has to survive its state: the default is a new one for each instance of this module.
  EOT
  type        = string
  default     = null
}

variable "port" {
  description = "The very port, if it has to be one in particular."
  type        = number
  default     = null
}

variable "ports" {
  description = "What the ports are for, if there are several, as in [\"http\", \"grpc\"]. Each is a part of a name."
  type        = list(string)
  default     = []
}

variable "contiguous" {
  description = "Whether several ports are neighbours, in their order."
  type        = bool
  default     = false
}

variable "lease_seconds" {
  description = "After how many seconds the port is free although the configuration still has it; null for never."
  type        = number
  default     = null
}

variable "labels" {
  description = "Notes beside the port: at most 8."
  type        = map(string)
  default     = {}
}
