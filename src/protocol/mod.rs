//! The conversation between client and agent.
