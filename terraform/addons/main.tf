# What every cluster gets, once it exists. A root of its own: a provider cannot be configured by a cluster that the same
# apply makes, and the private API is reached from inside the network. Both providers read KUBE_CONFIG_PATH.

provider "helm" {}

provider "kubernetes" {}

locals {
  chart_repositories = {
    autoscaler  = "https://kubernetes.github.io/autoscaler"
    kuberay     = "https://ray-project.github.io/kuberay-helm/"
    nvidia      = "https://nvidia.github.io/k8s-device-plugin"
    prometheus  = "https://prometheus-community.github.io/helm-charts"
    secrets     = "https://kubernetes-sigs.github.io/secrets-store-csi-driver/charts"
    secrets_aws = "https://aws.github.io/secrets-store-csi-driver-provider-aws"
  }
}
