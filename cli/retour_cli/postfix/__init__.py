"""The Postfix beside Retour: what it is set to, what must be added, and how that is written and taken back."""
