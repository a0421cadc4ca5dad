package acpi

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestBuildRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		base   uint64
		change func(*Config)
		want   string
	}{
		{"base 0", 0, nil, "address 0x0 is not"},
		{"base not aligned", 0xe0008, nil, "0xe0008 is not a multiple of 16"},
		{"base at 4 GiB", 1 << 32, nil, "0x100000000 is not"},
		{"end above 4 GiB", 1<<32 - 16, nil, "do not end below 4 GiB"},
		{"base at the end of the address space", math.MaxUint64 &^ 15, nil, "below 4 GiB"},
		{"no processor", testBase, func(c *Config) { c.CPUs = 0 }, "0 processors"},
		{"negative processors", testBase, func(c *Config) { c.CPUs = -1 }, "-1 processors"},
		{"too many processors", testBase, func(c *Config) { c.CPUs = 4097 }, "4097 processors, not 1 to 4096"},
		{"too many devices", testBase, func(c *Config) { c.Devices = make([]Device, 4097) }, "4097 devices"},
		{"no LAPIC", testBase, func(c *Config) { c.LAPIC = 0 }, "LAPIC address 0x0"},
		{"IOAPIC inside a page", testBase, func(c *Config) { c.IOAPIC += 16 }, "IOAPIC address 0xfec00010"},
		{"LAPIC and IOAPIC", testBase, func(c *Config) { c.IOAPIC = c.LAPIC }, "overlap"},
		{"device not aligned", testBase, func(c *Config) { c.Devices[1].Base += 2 }, "device 1: address 0xd0001002"},
		{"device without size", testBase, func(c *Config) { c.Devices[1].Size = 0 }, "device 1: 0x0 bytes"},
		{"device above 4 GiB", testBase, func(c *Config) { c.Devices[1].Base = 1 << 32 }, "not all below 4 GiB"},
		{"device across 4 GiB", testBase, func(c *Config) { c.Devices[1].Base = 1<<32 - 0x800 }, "not all below 4 GiB"},
		{"device at the end of the address space", testBase, func(c *Config) { c.Devices[1].Base = math.MaxUint64 - 3 }, "not all below 4 GiB"},
		{"devices overlap", testBase, func(c *Config) { c.Devices[1].Base -= 4 }, "device 0 [0xd0000000, 0xd0001000) and device 1 [0xd0000ffc, 0xd0001ffc) overlap"},
		{"device on the LAPIC", testBase, func(c *Config) { c.Devices[1].Base = 0xfee00000 }, "overlap"},
		{"device on the tables", testBase, func(c *Config) { c.Devices[1].Base = testBase }, "overlap"},
		{"device GSI 0", testBase, func(c *Config) { c.Devices[1].GSI = 0 }, "device 1: GSI 0"},
		{"device GSI 24", testBase, func(c *Config) { c.Devices[1].GSI = 24 }, "device 1: GSI 24"},
		{"serial GSI taken", testBase, func(c *Config) { c.SerialGSI = 5 }, "GSI 5 of the serial port is also that of device 0"},
		{"serial GSI 0", testBase, func(c *Config) { c.SerialGSI = 0 }, "serial port: GSI 0"},
		{"power button GSI taken", testBase, func(c *Config) { c.PowerButtonGSI = 6 }, "GSI 6 of the power button is also that of device 1"},
		{"power button GSI 24", testBase, func(c *Config) { c.PowerButtonGSI = 24 }, "power button: GSI 24"},
		{"one GSI for both events", testBase, func(c *Config) { c.VMGenIDGSI = c.PowerButtonGSI }, "also that of power button"},
		{"generation id GSI 0", testBase, func(c *Config) { c.VMGenIDGSI = 0 }, "generation id: GSI 0"},
		{"generation id not aligned", testBase, func(c *Config) { c.VMGenIDAddr += 4 }, "generation id at 0xd0004"},
		{"generation id beyond physical memory", testBase, func(c *Config) { c.VMGenIDAddr = 1 << 52 }, "below 0x10000000000000"},
		{"generation id in the tables", testBase, func(c *Config) { c.VMGenIDAddr = testBase + 64 }, "overlap"},
		{"no reset port", testBase, func(c *Config) { c.ResetPort = 0 }, "reset port 0x0"},
		{"no sleep control port", testBase, func(c *Config) { c.SleepControlPort = 0 }, "sleep control port 0x0"},
		{"no sleep status port", testBase, func(c *Config) { c.SleepStatusPort = 0 }, "sleep status port 0x0"},
		{"one port for two", testBase, func(c *Config) { c.ResetPort = c.SleepControlPort }, "overlap"},
		{"port of the serial port", testBase, func(c *Config) { c.ResetPort = c.SerialPort + 7 }, "overlap"},
		{"serial port at the end", testBase, func(c *Config) { c.SerialPort = 0xfff9 }, "serial port 0xfff9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := machine(1, 2)
			if tt.change != nil {
				tt.change(&c)
			}
			image, err := Build(tt.base, c)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, not one with %q", err, tt.want)
			}
			if image != nil {
				t.Error("an image comes with the error")
			}
		})
	}
}

func TestBuildReportsEveryProblem(t *testing.T) {
	c := machine(0, 2)
	c.IOAPIC, c.ResetPort, c.Devices[0].Size, c.Devices[1].GSI = 0, 0, 0, 99
	_, err := Build(testBase, c)
	for _, want := range []string{"0 processors", "IOAPIC", "reset port", "device 0", "GSI 99"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v says nothing of %q", err, want)
		}
	}
}

func TestBuildAccepts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
	}{
		{"neighbours", func(c *Config) { c.Devices[1].Base = c.Devices[0].Base + uint64(c.Devices[0].Size) }},
		{"devices that share", func(c *Config) { c.Devices[1].GSI = c.Devices[0].GSI }},
		{"device that ends at 4 GiB", func(c *Config) { c.Devices[1].Base = 1<<32 - 0x1000 }},
		{"last pin", func(c *Config) { c.Devices[1].GSI = 23 }},
		{"last ports", func(c *Config) { c.SerialPort, c.ResetPort = 0xfff7, 0xffff }},
		{"no serial port, its GSI unused", func(c *Config) { c.SerialPort, c.SerialGSI = 0, 0 }},
		{"no generation id, its GSI unused", func(c *Config) { c.VMGenIDAddr, c.VMGenIDGSI = 0, 0 }},
		{"devices in any order", func(c *Config) { slices.Reverse(c.Devices) }},
	} {
		c := machine(1, 2)
		tt.change(&c)
		if _, err := Build(testBase, c); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestBuildLeavesConfigAlone(t *testing.T) {
	c := machine(1, 3)
	slices.Reverse(c.Devices)
	want := slices.Clone(c.Devices)
	if _, err := Build(testBase, c); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Devices, want) {
		t.Errorf("devices became %v", c.Devices)
	}
}
