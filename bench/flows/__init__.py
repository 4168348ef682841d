"""Flows: what of Retour's mail flows is measured, each against the same without Retour, in rounds by turns."""
