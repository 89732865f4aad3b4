"""The demo: a recorded caller, the front desk of a telephone company, and everything real between them."""
