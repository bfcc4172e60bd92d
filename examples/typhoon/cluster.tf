# Add these two lines to the module of your cluster. Every host then asks fleetlock before it reboots into an update.
module "cluster" {
  # Keep source, os_image, networking and the other arguments.
  controller_snippets = [file("./fleetlock-client.bu")]
  worker_snippets     = [file("./fleetlock-client.bu")]
}
