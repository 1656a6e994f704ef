"""Distillation losses, each usable alone, and the totals made of them."""
