"""The store between records and machines: who uses its entries, what may go, and sharing it with others."""
