output "port" {
  description = "The port, or the first of several."
  value       = local.result["Port"]
}

output "ports" {
  description = "Several ports by what they are for."
  value       = { for part in var.ports : part => local.result["Port.${part}"] }
}

output "name" {
  description = "Whose port it is."
  value       = local.result["Name"]
}

output "owner" {
  description = "Who holds it, for a look into the registry."
  value       = local.owner
}

output "expires_at" {
  description = "When its lease ends; null if it has none."
  value       = local.result["ExpiresAt"]
}
