package serial

import (
	"bytes"
	"strings"
	"testing"
)

func TestState(t *testing.T) {
	a := newLine()
	a.Write(regLCR, lcrDLAB)
	a.Write(0, 12)
	a.Write(1, 1)
	a.Write(regLCR, 3)
	a.Write(regIIR, fcrEnable)
	a.Write(regMCR, mcrOut2)
	a.Write(regSCR, 7)
	a.Write(regIER, ierRDI|ierTHRI)
	a.Input([]byte("typed"))
	saved, err := a.SaveState()
	if err != nil {
		t.Fatal(err)
	}

	b := newLine()
	b.Input([]byte("lost"))
	if err := b.LoadState(saved); err != nil {
		t.Fatal(err)
	}
	b.edges(t, "what was pending", 1)
	if again, _ := b.SaveState(); !bytes.Equal(saved, again) {
		t.Errorf("saved %s, loaded and saved %s", saved, again)
	}
	for _, c := range "typed" {
		b.expect(t, "input", regIIR, 0xff, iirFIFOs|iirRDI)
		b.expect(t, "input", regData, 0xff, byte(c))
	}
	b.expect(t, "transmitter", regIIR, 0xff, iirFIFOs|iirTHRE)
	b.expect(t, "scratch", regSCR, 0xff, 7)
	b.expect(t, "modem control", regMCR, 0xff, mcrOut2)
	b.Write(regLCR, lcrDLAB)
	b.expect(t, "divisor", 0, 0xff, 12)
	b.expect(t, "divisor", 1, 0xff, 1)
}

func TestLoadBadState(t *testing.T) {
	for _, c := range []struct{ state, err string }{
		{``, "decode"},
		{`[]`, "decode"},
		{`{"version":1} x`, "decode"},
		{`{"version":1,"ier":256}`, "decode"},
		{`{}`, "version is 0, not 1"},
		{`{"version":2}`, "version is 2, not 1"},
		{`{"version":1,"ier":16}`, "ier is 0x10"},
		{`{"version":1,"mcr":32}`, "mcr is 0x20"},
		{`{"version":1,"thre":true}`, "thre is set"},
		{`{"version":1,"rx":"` + strings.Repeat("AAAA", 22) + `"}`, "rx has 66 bytes"},
		{`{"version":1}` + strings.Repeat(" ", maxState), "more than 4096"},
	} {
		l := newLine()
		l.Write(regSCR, 9)
		if err := l.LoadState([]byte(c.state)); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%.40s: error %v, want %q", c.state, err, c.err)
		}
		l.expect(t, "a refused state changes nothing", regSCR, 0xff, 9)
	}
}
