package policy_test

import (
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/usernet/policy"
)

func TestParseRule(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	tests := []struct{ text, want string }{
		{"allow any", "allow any"},
		{"deny any", "deny any"},
		{"deny ANY", "deny any"},
		{"allow :443", "allow :443"},
		{"allow any:443", "allow :443"},
		{"allow :443/tcp", "allow :443/tcp"},
		{"allow any/udp", "allow any/udp"},
		{"deny :1-65535/udp", "deny :1-65535/udp"},
		{"deny :25-25", "deny :25"},
		{"allow 10.0.0.0/8", "allow 10.0.0.0/8"},
		{"allow 10.0.0.0/8/tcp", "allow 10.0.0.0/8/tcp"},
		{"allow 10.0.0.0/8:80-90/udp", "allow 10.0.0.0/8:80-90/udp"},
		{"allow 10.1.2.3", "allow 10.1.2.3"},
		{"allow 10.1.2.3/32", "allow 10.1.2.3"},
		{"allow 10.1.2.3:80", "allow 10.1.2.3:80"},
		{"allow 0.0.0.0/0", "allow 0.0.0.0/0"},
		{"allow ::/0", "allow ::/0"},
		{"allow ::", "allow ::"},
		{"allow ::1", "allow ::1"},
		{"allow fd00::/8", "allow fd00::/8"},
		{"allow fd00::/8/udp", "allow fd00::/8/udp"},
		{"allow [fd00::/8]", "allow fd00::/8"},
		{"allow [fd00::/8]:443/tcp", "allow [fd00::/8]:443/tcp"},
		{"allow [::1]:22-23", "allow [::1]:22-23"},
		{"deny ::ffff:10.0.0.1", "deny 10.0.0.1"},
		{"deny [::ffff:10.0.0.0/104]:80", "deny 10.0.0.0/8:80"},
		{"allow example.com", "allow example.com"},
		{"allow Example.COM.", "allow example.com"},
		{"allow *.Example.com.:443/tcp", "allow *.example.com:443/tcp"},
		{"allow *.any", "allow *.any"},
		{"allow db", "allow db"},
		{"allow _srv.x-1.example", "allow _srv.x-1.example"},
		{"allow xn--bcher-kva.example", "allow xn--bcher-kva.example"},
		{"allow 1.2.3.4.example", "allow 1.2.3.4.example"},
		{"allow " + label63 + ".example", "allow " + label63 + ".example"},
	}
	for _, test := range tests {
		r, err := policy.ParseRule(test.text)
		if err != nil {
			t.Error(err)
			continue
		}
		if r.String() != test.want {
			t.Errorf("%q is read as %q, not %q", test.text, r, test.want)
		}
		if again, err := policy.ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%s is read again as %q, %v", r, again, err)
		}
	}
	if zero := (policy.Rule{}).String(); zero != "allow any" {
		t.Errorf("the zero rule is %q", zero)
	}
}

func TestParseRuleRefuses(t *testing.T) {
	long := strings.Repeat("abcdefg.", 32)
	tests := []struct{ text, says string }{
		{"", "begin with allow or deny"},
		{"any", "begin with allow or deny"},
		{"Allow any", "begin with allow or deny"},
		{"allow", "must be TARGET"},
		{"allow ", "must be TARGET"},
		{"allow /tcp", "must be TARGET"},
		{"allow :", "must be TARGET"},
		{"allow any:", "must be TARGET"},
		{"allow any/icmp", "must be TARGET"},
		{"allow  any", "label"},
		{"allow any ", "label"},
		{"allow :0", "from 1 to 65535"},
		{"allow :65536", "from 1 to 65535"},
		{"allow :80-", "from 1 to 65535"},
		{"allow :-80", "from 1 to 65535"},
		{"allow :+80", "from 1 to 65535"},
		{"allow :http", "from 1 to 65535"},
		{"allow :90-80", "ascending"},
		{"allow :80/tcp/udp", "from 1 to 65535"},
		{"allow 10.0.0.1/8", "the prefix is 10.0.0.0/8"},
		{"allow fd00::1/8", "the prefix is fd00::/8"},
		{"allow ::ffff:10.0.0.0/90", "bits set"},
		{"allow 10.0.0.0/33", "must be TARGET"},
		{"allow 10.0.0.0/", "must be TARGET"},
		{"allow 10.0.0/8", "must be TARGET"},
		{"allow 010.0.0.1", "neither an address nor a domain"},
		{"allow 10.0.0.256", "neither an address nor a domain"},
		{"allow 10.0.0", "neither an address nor a domain"},
		{"allow fe80::1%eth0", "zone"},
		{"allow [::1", "must be TARGET"},
		{"allow [::1]443", "must be TARGET"},
		{"allow [::1]:", "must be TARGET"},
		{"allow [::1]/8", "must be TARGET"},
		{"allow [10.0.0.1]:80", "must be TARGET"},
		{"allow []", "must be TARGET"},
		{"allow ::1:443/8", "bits set"},
		{"allow *", "domain"},
		{"allow *.", "domain"},
		{"allow *.*.example", "domain"},
		{"allow a.*.example", "domain"},
		{"allow a..example", "domain"},
		{"allow .example", "domain"},
		{"allow -a.example", "domain"},
		{"allow a-.example", "domain"},
		{"allow bücher.example", "xn--"},
		{"allow a b.example", "domain"},
		{"allow http://example.com", "from 1 to 65535"},
		{"allow " + strings.Repeat("a", 64) + ".example", "1 to 63"},
		{"allow " + long, "253"},
	}
	for _, test := range tests {
		r, err := policy.ParseRule(test.text)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q gives %q, %v; not %q", test.text, r, err, test.says)
		}
	}
}

func TestMode(t *testing.T) {
	for name, want := range map[string]policy.Mode{
		"none": policy.ModeNone, "local": policy.ModeLocal, "public": policy.ModePublic, "all": policy.ModeAll,
	} {
		if m, err := policy.ParseMode(name); err != nil || m != want {
			t.Errorf("%s is %d, %v", name, m, err)
		}
	}
	if policy.Mode(0) != policy.ModePublic {
		t.Error("the default is not public")
	}
	if _, err := policy.ParseMode("Public"); err == nil || !strings.Contains(err.Error(), "none, local, public, all") {
		t.Errorf("the error is %v", err)
	}
}
