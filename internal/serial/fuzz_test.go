package serial

import (
	"bytes"
	"testing"
)

// FuzzRegisters plays a guest: pairs of a register and a value to write; with the
// register's high bit it is read, and an odd one gets input first.
func FuzzRegisters(f *testing.F) {
	f.Add([]byte{regIER, ierTHRI, regData, 'x', regIIR | 0x80, 0, regMCR, mcrLoop, regData, 'y'})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var out bytes.Buffer
		u := New(&out, func() {})
		sent := 0
		for ; len(ops) >= 2; ops = ops[2:] {
			reg, v := ops[0]&0x7f, ops[1]
			if ops[0]&0x80 == 0 {
				u.Write(reg, v)
				sent++
				continue
			}
			if reg&1 != 0 {
				u.Input(bytes.Repeat([]byte{v}, int(v)))
			}
			u.Read(reg)
		}
		if len(u.rx) > fifoSize || cap(u.rx) > fifoSize || len(u.tx) >= outputSize {
			t.Fatalf("%d bytes of input and %d of output wait", len(u.rx), len(u.tx))
		}
		saved, err := u.SaveState()
		if err != nil {
			t.Fatal(err)
		}
		if out.Len() > sent {
			t.Fatalf("%d bytes of output from %d writes", out.Len(), sent)
		}
		if err := New(&out, func() {}).LoadState(saved); err != nil {
			t.Fatalf("cannot load %s: %v", saved, err)
		}
	})
}

func FuzzLoadState(f *testing.F) {
	f.Add([]byte(`{"version":1,"ier":3,"lcr":3,"mcr":8,"scr":7,"divisor":[12,1],"fifos":true,"thre":true,"rx":"dHlwZWQ="}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		u := New(new(bytes.Buffer), func() {})
		if u.LoadState(state) != nil {
			return
		}
		first, _ := u.SaveState()
		v := New(new(bytes.Buffer), func() {})
		if err := v.LoadState(first); err != nil {
			t.Fatalf("%s: saved as %s, and loading that: %v", state, first, err)
		}
		if second, _ := v.SaveState(); !bytes.Equal(first, second) {
			t.Fatalf("%s, then %s", first, second)
		}
	})
}
