// Package metrics writes what VMs do and take for Prometheus, in its text format
// (version 0.0.4). All names begin with holt_vm_ and all units are base units.
package metrics

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/holtvm/holt/internal/control"
)

// ContentType is the media type of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes the metrics of all VMs. Each has the labels vm (its name, or its ID
// if it has none) and id. The IDs must differ.
func Write(w io.Writer, all []control.Stats) error {
	var out bytes.Buffer
	for _, f := range families {
		begun := false
		for i := range all {
			for _, s := range f.samples(&all[i]) {
				if !begun {
					fmt.Fprintf(&out, "# HELP holt_vm_%s %s\n# TYPE holt_vm_%s %s\n", f.name, f.help, f.name, f.kind())
					begun = true
				}
				f.write(&out, &all[i], s)
			}
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// family is a metric with all its samples.
type family struct {
	name    string // without holt_vm_
	help    string // one line without a backslash
	label   string // beside vm and id, if samples have another one
	samples func(*control.Stats) []sample
}

// sample is one value.
type sample struct {
	label string // the value of the family's label, if it has one
	value float64
}

// kind is the metric's type. What counts is known by its name.
func (f family) kind() string {
	if strings.HasSuffix(f.name, "_total") {
		return "counter"
	}
	return "gauge"
}

func (f family) write(out *bytes.Buffer, vm *control.Stats, s sample) {
	name := vm.Name
	if name == "" {
		name = vm.ID
	}
	fmt.Fprintf(out, `holt_vm_%s{vm="%s",id="%s"`, f.name, escape(name), escape(vm.ID))
	if f.label != "" {
		fmt.Fprintf(out, `,%s="%s"`, f.label, escape(s.label))
	}
	out.WriteString("} ")
	out.WriteString(strconv.FormatFloat(s.value, 'f', -1, 64))
	out.WriteByte('\n')
}

// escape makes any text the value of a label.
func escape(s string) string {
	return escaped.Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
