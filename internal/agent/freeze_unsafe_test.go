package agent

import (
	"testing"
	"unsafe"

	"github.com/holtvm/holt/internal/agentproto"
)

// TestBoxLayout: both ends mean the same bytes.
func TestBoxLayout(t *testing.T) {
	var b box
	for name, tt := range map[string]struct{ got, want uintptr }{
		"state": {unsafe.Offsetof(b.state), agentproto.MailboxState},
		"clock": {unsafe.Offsetof(b.clock), agentproto.MailboxClock},
		"seed":  {unsafe.Offsetof(b.seed), agentproto.MailboxSeed},
		"size":  {unsafe.Sizeof(b), agentproto.MailboxSize},
		"magic": {unsafe.Sizeof(b.magic), uintptr(len(agentproto.MailboxMagic))},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, the protocol has %d", name, tt.got, tt.want)
		}
	}
}
