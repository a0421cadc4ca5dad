package vsock

import "fmt"

// HostCID is the context ID that means the host (virtio 1.2, 5.10.4).
const HostCID = 2

// Addr is one end of a vsock connection; it implements [net.Addr].
type Addr struct {
	CID  uint64 // HostCID, or the guest's
	Port uint32
}

// Network is "vsock".
func (Addr) Network() string { return "vsock" }

// String is "cid:port", both decimal.
func (a Addr) String() string { return fmt.Sprintf("%d:%d", a.CID, a.Port) }
