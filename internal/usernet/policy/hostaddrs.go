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
	list func() ([]netip.Addr, error)

	mu    sync.Mutex
	addrs map[netip.Addr]struct{} // nil as long as they could not be listed
	until time.Time
}

// has reports whether addr, which is not IPv4-mapped, is the host's, or might be for
// all that is known.
func (h *hostAddrs) has(addr netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); !now.Before(h.until) {
		if list, err := h.list(); err == nil {
			h.addrs = make(map[netip.Addr]struct{})
			for _, a := range list {
				h.addrs[a.Unmap().WithZone("")] = struct{}{}
			}
		}
		h.until = now.Add(hostRefresh)
	}
	_, found := h.addrs[addr]
	return found || h.addrs == nil
}

// interfaceAddrs returns the addresses of the host's interfaces.
func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		if ipNet, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(ipNet.IP); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs, nil
}
