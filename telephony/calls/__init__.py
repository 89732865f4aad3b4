"""Live calls: who answers, which there are, who decides their approvals, and what others are told of them."""
