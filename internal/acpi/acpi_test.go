package acpi

import (
	"bytes"
	"encoding/binary"
	"testing"
)

const testBase = 0xe0000

// machine returns a Config like the VMM's, with a generation id.
func machine(cpus, devices int) Config {
	c := Config{
		CPUs: cpus, LAPIC: 0xfee00000, IOAPIC: 0xfec00000,
		SerialPort: 0x3f8, SerialGSI: 4,
		SleepControlPort: 0x600, SleepStatusPort: 0x601, ResetPort: 0x602, ResetValue: 1,
		PowerButtonGSI: 1, VMGenIDAddr: 0xd0000, VMGenIDGSI: 2,
	}
	for i := range devices {
		c.Devices = append(c.Devices, Device{Base: 0xd0000000 + uint64(i)*0x1000, Size: 0x1000, GSI: 5 + uint32(i%19)})
	}
	return c
}

// tables follows the pointers of an image at base and returns the tables by
// signature, the RSDP included.
func tables(t *testing.T, image []byte, base uint64) map[string][]byte {
	t.Helper()
	le := binary.LittleEndian
	table := func(at uint64) []byte {
		if at < base || at%16 != 0 || at-base+headerLen > uint64(len(image)) {
			t.Fatalf("a table at %#x is not in the %#x bytes at %#x, or not aligned", at, len(image), base)
		}
		p := image[at-base:]
		return p[:le.Uint32(p[4:])]
	}
	found := map[string][]byte{"RSDP": image[:36]}
	root := table(le.Uint64(image[24:]))
	found["XSDT"] = root
	for p := root[36:]; len(p) > 0; p = p[8:] {
		entry := table(le.Uint64(p))
		found[string(entry[:4])] = entry
	}
	fadt := found["FACP"]
	if fadt == nil {
		t.Fatal("the XSDT lists no FADT")
	}
	found["DSDT"] = table(le.Uint64(fadt[140:]))
	return found
}

func sum(p []byte) (s uint8) {
	for _, b := range p {
		s += b
	}
	return s
}

func TestBuildLinksAndSums(t *testing.T) {
	for _, c := range []Config{machine(1, 0), machine(2, 24), machine(300, 1), machine(4096, 4096)} {
		image, err := Build(testBase, c)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(image, []byte("RSD PTR ")) || image[15] != 2 || binary.LittleEndian.Uint32(image[20:]) != 36 {
			t.Errorf("RSDP is % x", image[:36])
		}
		if s := sum(image[:20]); s != 0 {
			t.Errorf("the first 20 bytes of the RSDP sum to %#x", s)
		}
		found := tables(t, image, testBase)
		for _, name := range []string{"RSDP", "XSDT", "FACP", "APIC", "DSDT"} {
			table := found[name]
			if table == nil {
				t.Errorf("no %s", name)
			} else if s := sum(table); s != 0 {
				t.Errorf("%s sums to %#x", name, s)
			}
			if name != "RSDP" && string(table[:4]) != name {
				t.Errorf("%s has the signature %q", name, table[:4])
			}
		}
		if len(found) != 5 {
			t.Errorf("%d tables, not 5", len(found))
		}
	}
}

func TestImageFitsBelow1MiB(t *testing.T) {
	image, err := Build(testBase, machine(255, 64))
	if err != nil {
		t.Fatal(err)
	}
	if end := testBase + len(image); end > 0x100000 {
		t.Errorf("255 processors and 64 devices take %d bytes", len(image))
	}
}

func TestFADT(t *testing.T) {
	c := machine(1, 0)
	image, err := Build(testBase, c)
	if err != nil {
		t.Fatal(err)
	}
	fadt := tables(t, image, testBase)["FACP"]
	if len(fadt) != 276 || fadt[8] != 6 || fadt[131] != 4 {
		t.Errorf("%d bytes of revision %d.%d, not 276 of 6.4", len(fadt), fadt[8], fadt[131])
	}
	le := binary.LittleEndian
	if flags := le.Uint32(fadt[112:]); flags != 0x101475 {
		t.Errorf("flags are %#x", flags)
	}
	if boot := le.Uint16(fadt[109:]); boot != 0x2c {
		t.Errorf("IAPC_BOOT_ARCH is %#x", boot)
	}
	for _, r := range []struct {
		name string
		at   int
		port uint16
	}{{"reset", 116, c.ResetPort}, {"sleep control", 244, c.SleepControlPort}, {"sleep status", 256, c.SleepStatusPort}} {
		want := append([]byte{1, 8, 0, 1}, byte(r.port), byte(r.port>>8), 0, 0, 0, 0, 0, 0)
		if got := fadt[r.at : r.at+12]; !bytes.Equal(got, want) {
			t.Errorf("%s register is % x, not % x", r.name, got, want)
		}
	}
	if fadt[128] != c.ResetValue {
		t.Errorf("reset value is %d", fadt[128])
	}
	if rest := fadt[36:109]; sum(rest) != 0 || bytes.ContainsFunc(rest, func(r rune) bool { return r != 0 }) {
		t.Errorf("32-bit fields are not all zero: % x", rest)
	}
}

func TestMADT(t *testing.T) {
	for _, cpus := range []int{1, 2, 255, 256, 300, 4096} {
		c := machine(cpus, 0)
		image, err := Build(testBase, c)
		if err != nil {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		p := tables(t, image, testBase)["APIC"]
		if lapic, flags := le.Uint32(p[36:]), le.Uint32(p[40:]); lapic != c.LAPIC || flags != 0 {
			t.Errorf("LAPIC at %#x, flags %#x", lapic, flags)
		}
		next, ioapics := uint32(0), 0
		for p = p[44:]; len(p) > 0; p = p[p[1]:] {
			var id, uid, flags uint32
			switch {
			case p[0] == 0 && p[1] == 8:
				uid, id, flags = uint32(p[2]), uint32(p[3]), le.Uint32(p[4:])
				if id == 255 {
					t.Error("a LAPIC has the broadcast id")
				}
			case p[0] == 9 && p[1] == 16:
				id, flags, uid = le.Uint32(p[4:]), le.Uint32(p[8:]), le.Uint32(p[12:])
				if id < 255 {
					t.Errorf("x2APIC structure for the id %d", id)
				}
			case p[0] == 1 && p[1] == 12:
				ioapics++
				if want := []byte{0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0}; !bytes.Equal(p[2:12], want) {
					t.Errorf("IOAPIC is % x, not % x", p[2:12], want)
				}
				continue
			default:
				t.Fatalf("structure %d of %d bytes", p[0], p[1])
			}
			if id != next || uid != next || flags != 1 {
				t.Errorf("processor %d has id %d, uid %d, flags %#x", next, id, uid, flags)
			}
			next++
		}
		if int(next) != cpus || ioapics != 1 {
			t.Errorf("%d processors and %d IOAPICs, not %d and 1", next, ioapics, cpus)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	c := machine(4, 8)
	for b.Loop() {
		if _, err := Build(testBase, c); err != nil {
			b.Fatal(err)
		}
	}
}
