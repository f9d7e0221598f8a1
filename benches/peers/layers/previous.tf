data "terraform_remote_state" "previous" {
  backend = "s3"

  config = {
    bucket = var.state_bucket
    key    = "${var.state_prefix}/PREVIOUS.tfstate"
    region = var.region
  }
}

output "previous" {
  value = data.terraform_remote_state.previous.outputs.names
}
