package vhostuser

import (
	"errors"

	"github.com/holtvm/holt/internal/virtio"
)

// transportFeatures are offered for every device.
const transportFeatures = virtio.TransportFeatures | featureProtocolFeatures

// protocolFeatures is what the back end offers of the protocol for dev. QEMU
// keeps the configuration space of some devices itself and warns on every start
// about a back end that offers one.
func protocolFeatures(dev virtio.Device) uint64 {
	f := protocolMQ | protocolReplyAck | protocolResetDevice
	switch dev.Type() {
	case virtio.TypeFS, virtio.TypeEntropy, virtio.TypeNet:
	default:
		f |= protocolConfig
	}
	return f
}

// setFeatures notes what the driver accepted. A front end may pass on bits that
// it offered the driver itself, for its own transport; they mean nothing here.
func (s *server) setFeatures(accepted uint64) error {
	accepted &= s.dev.Features() | transportFeatures
	if s.running() && accepted != s.features {
		return errors.New("features change while rings run")
	}
	s.negotiated, s.features = true, accepted
	if accepted&featureProtocolFeatures == 0 { // then there is no SET_VRING_ENABLE
		for _, r := range s.rings {
			r.enabled = true
		}
	}
	s.startReady()
	return nil
}
