"""Ordeals: what `make torture` puts Retour through. Each gives the books: what was acknowledged, what is there."""
