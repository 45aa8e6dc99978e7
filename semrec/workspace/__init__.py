"""Stores the artefacts of a workspace: storage, tables, manifests, digests, the ledger, leases and quarantine."""
