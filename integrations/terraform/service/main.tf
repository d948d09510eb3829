resource "aws_lambda_invocation" "service" {
  function_name   = var.function
  input           = jsonencode(local.input)
  lifecycle_scope = "CRUD"
  triggers        = local.triggers
}

locals {
  result = jsondecode(aws_lambda_invocation.service.result)
}
