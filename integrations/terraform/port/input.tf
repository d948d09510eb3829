# What is sent, and what makes another resource of it. No expression here needs the provider, so that the tests evaluate
# this file as it is.

# A name for this instance of the module that no other state has.
resource "terraform_data" "identity" {}

locals {
  owner = var.owner != null ? var.owner : "tf/${terraform_data.identity.id}"

  input = {
    ResourceType = "Custom::PortmasterPort"
    Service      = var.service
    Namespace    = var.namespace
    Name         = var.name
    Owner        = local.owner
    Port         = var.port
    Ports        = var.ports
    Contiguous   = var.contiguous
    LeaseSeconds = var.lease_seconds
    Labels       = var.labels
  }

  # The provider stores a failed update as if it had been done (hashicorp/terraform-provider-aws#43447), and would never
  # release what was there before. So whatever makes another port of it replaces the resource. What is left to updates
  # keeps the port: labels, more or fewer of several ports, a longer lease.
  triggers = {
    identity   = "${var.namespace}/${var.service}/${var.name}:${local.owner}"
    port       = var.port == null ? "any" : tostring(var.port)
    several    = tostring(length(var.ports) > 0)
    contiguous = tostring(var.contiguous)
    leased     = tostring(var.lease_seconds != null)
  }
}
