"""Controller machinery: reflector, store, workqueue, leader election, clock."""
