"""The workspace: storage, tables, manifests, digests, the ledger, leases and quarantine. What every stage stands on."""
