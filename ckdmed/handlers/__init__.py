"""Ignite handlers that watch, log and save a distillation."""
