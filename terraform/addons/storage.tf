# Volumes on the disks' key. EKS brings no default class at all, so claims would wait for ever; the others' use the cloud's key.

locals {
  volumes = {
    aws   = { provisioner = "ebs.csi.aws.com", parameters = { type = "gp3", encrypted = "true", kmsKeyId = var.disk_key_id } }
    gcp   = { provisioner = "pd.csi.storage.gke.io", parameters = { type = "pd-balanced", "disk-encryption-kms-key" = var.disk_key_id } }
    azure = { provisioner = "disk.csi.azure.com", parameters = { skuName = "StandardSSD_ZRS", diskEncryptionSetID = var.disk_key_id } }
  }[var.cloud]
}

resource "kubernetes_storage_class_v1" "encrypted" {
  metadata {
    name = "semrec-encrypted"
  }

  storage_provisioner    = local.volumes.provisioner
  parameters             = local.volumes.parameters
  reclaim_policy         = "Delete"
  volume_binding_mode    = "WaitForFirstConsumer" # in the zone of the pod
  allow_volume_expansion = true
}
