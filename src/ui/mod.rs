//! What people see. Never asked for a decision.
