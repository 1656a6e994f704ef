"""The frozen teacher, the distiller and the trainer."""
