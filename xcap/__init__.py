"""XML document management: XCAP servers, the Aggregation Proxy, change notification, clients."""
