package holt

import "errors"

// Unsupported returns what c asks for that this build of Holt cannot do yet,
// or nil. Each problem is a [*FieldError] that wraps [ErrNotSupported], and all
// of them are joined. Such a Config may well be valid; starting it fails with
// this error, so that no field is ever silently ignored.
func (c Config) Unsupported() error {
	gaps := []struct {
		asked bool
		field string
		text  string
	}{
		{c.CPUQuotaUS != nil, "cpu_quota_us", "this build of Holt cannot limit CPU time yet"},
		{c.RootfsPath != "", "rootfs_path", "this build of Holt cannot run from a compressed root filesystem yet; unpack it and use root_path"},
		{len(c.PortMap) > 0, "port_map", "this build of Holt cannot publish ports yet"},
		{c.AssignedIP.IsValid(), "assigned_ip", "this build of Holt cannot assign an address yet"},
		{c.LocalOnly, "local_only", "this build of Holt has no guest network to restrict yet"},
	}
	var errs []error
	for _, gap := range gaps {
		if gap.asked {
			errs = append(errs, &FieldError{Field: gap.field, Problem: gap.text, Err: ErrNotSupported})
		}
	}
	return errors.Join(errs...)
}
