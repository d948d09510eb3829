# What is sent, and what makes another resource of it. No expression here needs the provider, so that the tests evaluate
# this file as it is.

# A name for this instance of the module that no other state has.
resource "terraform_data" "identity" {}

locals {
  owner = var.owner != null ? var.owner : "tf/${terraform_data.identity.id}"

  input = {
    ResourceType      = "Custom::PortmasterService"
    Name              = var.name
    Namespace         = var.namespace
    Owner             = local.owner
    Start             = var.start
    End               = var.end
    Description       = var.description
    Strategy          = var.strategy
    LeaseSeconds      = var.lease_seconds
    MaxLeaseSeconds   = var.max_lease_seconds
    CooldownSeconds   = var.cooldown_seconds
    QuarantineSeconds = var.quarantine_seconds
    Reserved          = length(var.reserved) > 0 ? var.reserved : null
  }

  # As for a port: another name is another service, and a failed update must not forget the former one.
  triggers = {
    identity = "${var.namespace}/${var.name}:${local.owner}"
  }
}
