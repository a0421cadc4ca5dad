package policy

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// hostRefresh is how long the list of the host's addresses is used.
const hostRefresh = 5 * time.Second

// hostAddrs knows the addresses that the host has now, or had seconds ago.
type hostAddrs struct {
	list func() []netip.Addr

	mu    sync.Mutex
	addrs map[netip.Addr]struct{}
	until time.Time
}

// has reports whether addr, which is not IPv4-mapped, is the host's.
func (h *hostAddrs) has(addr netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); !now.Before(h.until) {
		h.addrs = make(map[netip.Addr]struct{})
		for _, a := range h.list() {
			h.addrs[a.Unmap().WithZone("")] = struct{}{}
		}
		h.until = now.Add(hostRefresh)
	}
	_, found := h.addrs[addr]
	return found
}

// interfaceAddrs returns the addresses of the host's interfaces, none if they
// cannot be listed.
func interfaceAddrs() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	addrs := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		if ipNet, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(ipNet.IP); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}
