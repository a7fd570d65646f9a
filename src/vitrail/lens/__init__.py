"""Looking inside: attention, features, shapes, and pages that show them."""
