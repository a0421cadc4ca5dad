package holt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// ParseConfig reads the JSON form of a Config. Absent keys have the values of
// [DefaultConfig]. It checks the form and the grammars, and reports every bad
// key at once; whether the whole makes sense is for [Config.Validate].
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line := 1 + bytes.Count(data[:min(syntax.Offset, int64(len(data)))], []byte("\n"))
			return Config{}, fmt.Errorf("parse config: line %d: %w", line, err)
		}
		return Config{}, fmt.Errorf("parse config: %w", err)
	}
	return c, nil
}

// LoadConfig is [ParseConfig] of a file. Relative host paths in it are resolved
// against the working directory, not against the file.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read config: %w", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// MarshalJSON writes the JSON form; what is unset is left out, except
// vcpu_count and memory_mb. It fails where the form could not be read back as
// the same Config, as for a string that is not UTF-8, which JSON would garble.
func (c Config) MarshalJSON() ([]byte, error) {
	if err := c.checkUTF8(); err != nil {
		return nil, err
	}
	type plain Config // has no MarshalJSON, so this does not recurse
	return json.Marshal(plain(c))
}

func (c Config) checkUTF8() error {
	var errs []error
	check := func(field string, values ...string) {
		for _, value := range values {
			if !utf8.ValidString(value) {
				errs = append(errs, badText(field, value, errNotUTF8))
			}
		}
	}
	check("kernel_path", c.KernelPath)
	check("rootfs_path", c.RootfsPath)
	check("root_path", c.RootPath)
	check("root_disk", c.RootDisk.Path)
	for _, disk := range c.Disks {
		check("disks", disk.Path)
	}
	for _, pair := range c.MappedDirs {
		check("mapped_dirs", pair.String())
	}
	check("exec_path", c.ExecPath)
	check("args", c.Args...)
	for _, pair := range c.Env {
		check("env", pair.String())
	}
	check("workdir_path", c.WorkdirPath)
	check("packet_capture", c.PacketCapture)
	check("console_output", c.ConsoleOutput)
	return errors.Join(errs...)
}

// UnmarshalJSON reads the JSON form as [ParseConfig] does. It is stricter than
// encoding/json: a key that is unknown, differs in case or is repeated is an
// error, and so is text that is not UTF-8. The old content of c is replaced, or
// left alone on error. A null value is the same as an absent key.
func (c *Config) UnmarshalJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("must be valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, err := dec.Token(); err != nil {
		return err
	} else if start != json.Delim('{') {
		return errors.New("must be a JSON object")
	}
	read := DefaultConfig()
	decoders := read.decoders()
	seen := make(map[string]bool)
	var errs []error
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		key := token.(string) // in an object the decoder accepts nothing else
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		decode, known := decoders[key]
		switch {
		case !known:
			errs = append(errs, fmt.Errorf("unknown key %q", key))
		case seen[key]:
			errs = append(errs, &FieldError{Field: key, Problem: "must be given only once"})
		default:
			errs = append(errs, decode(key, raw)...)
		}
		seen[key] = true
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("must be one JSON object with nothing behind it")
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	*c = read
	return nil
}

// keyDecoder reads the value of one key and returns its problems.
type keyDecoder func(key string, raw json.RawMessage) []error

// decoders has one entry for each JSON name of Config's fields.
func (c *Config) decoders() map[string]keyDecoder {
	return map[string]keyDecoder{
		"vcpu_count":          scalar(&c.VCPUCount, "a whole number from 0 to 255"),
		"memory_mb":           scalar(&c.MemoryMB, "a whole number of MiB, below 2^32"),
		"cpu_quota_us":        scalar(&c.CPUQuotaUS, "a whole number of microseconds"),
		"kernel_path":         scalar(&c.KernelPath, "a string"),
		"rootfs_path":         scalar(&c.RootfsPath, "a string"),
		"root_path":           scalar(&c.RootPath, "a string"),
		"nested":              scalar(&c.Nested, "true or false"),
		"cpu_template":        scalar(&c.CPUTemplate, "a string"),
		"root_disk":           text(&c.RootDisk, parseDisk),
		"root_overlay":        scalar(&c.RootOverlay, "true or false"),
		"disks":               list(&c.Disks, parseDisk),
		"mapped_dirs":         list(&c.MappedDirs, parsePathPair),
		"exec_path":           scalar(&c.ExecPath, "a string"),
		"args":                list(&c.Args, parseArg),
		"env":                 list(&c.Env, parseEnvPair),
		"workdir_path":        scalar(&c.WorkdirPath, "a string"),
		"rlimits":             list(&c.Rlimits, parseRlimit),
		"network":             text(&c.Network, parseNetworkMode),
		"network_rules":       list(&c.NetworkRules, parseNetworkRule),
		"port_map":            list(&c.PortMap, parsePortPair),
		"assigned_ip":         text(&c.AssignedIP, parseAssignedIP),
		"assigned_prefix_len": scalar(&c.AssignedPrefixLen, "a whole number of bits"),
		"local_only":          scalar(&c.LocalOnly, "true or false"),
		"dns_servers":         list(&c.DNSServers, parseDNSServer),
		"packet_capture":      scalar(&c.PacketCapture, "a string"),
		"console_output":      scalar(&c.ConsoleOutput, "a string"),
		"log_level":           text(&c.LogLevel, parseLogLevel),
	}
}

func parseArg(s string) (string, error) { return s, nil }

// scalar decodes into dst whatever encoding/json can.
func scalar(dst any, want string) keyDecoder {
	return func(key string, raw json.RawMessage) []error {
		if err := json.Unmarshal(raw, dst); err != nil {
			return []error{badJSON(key, raw, want)}
		}
		return nil
	}
}

// text decodes a string with a grammar.
func text[T any](dst *T, parse func(string) (T, error)) keyDecoder {
	return func(key string, raw json.RawMessage) []error {
		var s *string
		if err := json.Unmarshal(raw, &s); err != nil {
			return []error{badJSON(key, raw, "a string")}
		}
		if s == nil {
			return nil
		}
		value, err := parse(*s)
		if err != nil {
			return []error{badText(key, *s, err)}
		}
		*dst = value
		return nil
	}
}

// list decodes a list of strings with a grammar. The elements are pointers
// because encoding/json would turn a null into an empty string.
func list[T any](dst *[]T, parse func(string) (T, error)) keyDecoder {
	return func(key string, raw json.RawMessage) []error {
		var elements []*string
		if err := json.Unmarshal(raw, &elements); err != nil {
			return []error{badJSON(key, raw, "a list of strings")}
		}
		var values []T
		var errs []error
		for _, s := range elements {
			if s == nil {
				errs = append(errs, badJSON(key, raw, "a list of strings, without null"))
				continue
			}
			value, err := parse(*s)
			if err != nil {
				errs = append(errs, badText(key, *s, err))
			}
			values = append(values, value)
		}
		*dst = values
		return errs
	}
}

// unmarshalText is the body of each UnmarshalText: dst stays as it is on error.
func unmarshalText[T any](dst *T, text []byte, parse func(string) (T, error)) error {
	value, err := parse(string(text))
	if err != nil {
		return err
	}
	*dst = value
	return nil
}

func badJSON(key string, raw json.RawMessage, want string) *FieldError {
	const longest = 60 // the value may be a whole document
	value := string(raw)
	if len(value) > longest {
		value = strings.ToValidUTF8(value[:longest], "") + "…"
	}
	return &FieldError{Field: key, Value: value, Problem: "must be " + want}
}
