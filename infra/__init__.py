"""What runs around it: images, KubeRay, monitoring."""
