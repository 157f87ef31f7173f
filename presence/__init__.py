"""PacketCable 2.0 / OMA Presence SIMPLE: Presence Server, its stores, configuration and clients."""
