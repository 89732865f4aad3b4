"""What is kept of people, and for how long: deleted by age, handed out to them, or erased."""
