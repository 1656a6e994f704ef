"""Teachers, students and the parts that connect them."""
