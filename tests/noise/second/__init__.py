"""A second implementation of Peerstage's wire protocol, written from docs/protocol.md alone."""
