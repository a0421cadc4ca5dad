package virtio

import (
	"encoding/json"
	"fmt"
)

// DecodeState decodes what a device's SaveState wrote: JSON of no more than most bytes,
// into s, whose field version is the format's number and must be want.
func DecodeState(state []byte, most int, s any, version *int, want int) error {
	if len(state) > most {
		return fmt.Errorf("%d bytes, more than %d", len(state), most)
	}
	if err := json.Unmarshal(state, s); err != nil {
		return err
	}
	if *version != want {
		return fmt.Errorf("version is %d, not %d", *version, want)
	}
	return nil
}
