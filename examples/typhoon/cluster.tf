# Add these to your cluster's module: every host then asks fleetlock at its fixed service address before it reboots.
module "cluster" {
  # source, os_image, networking and the rest stay as they are.
  controller_snippets = [file("./fleetlock-client.bu")]
  worker_snippets     = [file("./fleetlock-client.bu")]
}
