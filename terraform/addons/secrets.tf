# Mounts the vault's secrets into pods. GKE and AKS run the driver themselves (the cluster modules switch it on).

resource "helm_release" "secrets_driver" {
  count      = var.cloud == "aws" ? 1 : 0
  name       = "secrets-store-csi-driver"
  repository = local.chart_repositories.secrets
  chart      = "secrets-store-csi-driver"
  version    = "1.5.6"
  namespace  = "kube-system"
  atomic     = true

  values = [yamlencode({
    enableSecretRotation = true
    syncSecret           = { enabled = true } # Ray takes its Redis password from the environment, so from a Secret
    tokenRequests        = [{ audience = "sts.amazonaws.com" }]
    linux                = { tolerations = [{ operator = "Exists" }] } # GPU workers mount secrets too
  })]
}

resource "helm_release" "secrets_aws" {
  count      = var.cloud == "aws" ? 1 : 0
  name       = "secrets-provider-aws"
  repository = local.chart_repositories.secrets_aws
  chart      = "secrets-store-csi-driver-provider-aws"
  version    = "3.1.4"
  namespace  = "kube-system"
  atomic     = true

  values = [yamlencode({
    tolerations                = [{ operator = "Exists" }]
    "secrets-store-csi-driver" = { install = false } # installed above, with its own settings
  })]

  depends_on = [helm_release.secrets_driver]
}
