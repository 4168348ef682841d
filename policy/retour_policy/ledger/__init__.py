"""The accounts of addresses: facts written, state and suppressions kept, storms, versions of the policy."""
