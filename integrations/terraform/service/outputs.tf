output "name" {
  description = "The service's name, for the modules that take its ports: so they are released before it is deleted."
  value       = local.result["Name"]
}

output "namespace" {
  description = "Its namespace."
  value       = local.result["Namespace"]
}

output "start" {
  description = "The first port of its range."
  value       = local.result["Start"]
}

output "end" {
  description = "The last port of its range."
  value       = local.result["End"]
}
