//! What the API asks of the node.
