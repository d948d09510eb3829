terraform {
  required_version = ">= 1.4"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The first version whose aws_lambda_invocation has lifecycle_scope.
      version = ">= 4.58"
    }
  }
}
