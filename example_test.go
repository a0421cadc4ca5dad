package holt_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/holtvm/holt"
)

func ExampleBuilder() {
	config, err := holt.NewBuilder().
		LogLevel(holt.LogDebug).
		RootPath("/").
		NumVCPUs(2).
		RAMMiB(1024).
		MappedDirs("/tmp:/guest/mount:ro").
		PortMap("8080:80").
		Rlimits("RLIMIT_NOFILE=1024").
		ExecPath("/bin/example").
		Args("arg1", "arg2").
		Env("KEY1=VALUE1", "KEY2=VALUE2").
		Config()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(config.MemoryMB, "MiB for", config.ExecPath)
	fmt.Println(config.MappedDirs[0], config.PortMap[0], config.Rlimits[0])
	// Output:
	// 1024 MiB for /bin/example
	// /tmp:/guest/mount:ro 8080:80 RLIMIT_NOFILE=1024:1024
}

// All mistakes are reported together, each with the argument that made it.
func ExampleBuilder_errors() {
	_, err := holt.NewBuilder().
		RootPath("/").
		ExecPath("/bin/example").
		PortMap("8080:80", "70000:80").
		Config()
	fmt.Println(err)
	// Output:
	// port_map: "70000:80": host port "70000" must be a number from 1 to 65535
	// memory_mb: must be set: call RAMMiB
}

func ExampleConfig() {
	config := holt.DefaultConfig()
	config.RootPath = "/"
	config.ExecPath = "/bin/echo"
	config.Args = []string{"hello"}
	if err := config.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	text, err := json.Marshal(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(text))
	// Output:
	// {"vcpu_count":1,"memory_mb":512,"root_path":"/","exec_path":"/bin/echo","args":["hello"]}
}

func ExampleConfig_Validate() {
	config := holt.DefaultConfig()
	config.MemoryMB = 63
	config.RootPath = "/"
	config.ExecPath = "/bin/true"
	err := config.Validate()
	fmt.Println(err)

	if field, ok := errors.AsType[*holt.FieldError](err); ok {
		fmt.Println(field.Field, field.Value)
	}
	// Output:
	// memory_mb: 63: must be at least 64 (MiB)
	// memory_mb 63
}

func ExampleParseConfig() {
	config, err := holt.ParseConfig([]byte(`{"root_path": "/", "exec_path": "true", "port_map": ["8080:80"]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(config.VCPUCount, config.MemoryMB, config.PortMap[0].Guest)
	// Output:
	// 1 512 80
}
