// Renders a chart as `helm template` does: Go's own templates, with the functions that Helm has (sprig, include,
// toYaml, fromYaml, required, fail, tpl). It knows no subcharts, no lookup and no hooks.
//
//	render CHART RELEASE NAMESPACE VALUES.yaml KUBERNETES
//
// Stricter than Helm: a value that values.yaml does not have is an error, and not empty.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(path string) map[string]interface{} {
	text, err := os.ReadFile(path)
	fail(err)
	values := map[string]interface{}{}
	fail(yaml.Unmarshal(text, &values))
	return values
}

// Maps are merged, everything else is replaced.
func merge(over, under map[string]interface{}) {
	for key, value := range over {
		if below, ok := under[key].(map[string]interface{}); ok {
			if above, ok := value.(map[string]interface{}); ok {
				merge(above, below)
				continue
			}
		}
		under[key] = value
	}
}

func functions(all *template.Template) template.FuncMap {
	funcs := sprig.TxtFuncMap()
	// What Helm takes away, so that a chart reads nothing of the machine.
	delete(funcs, "env")
	delete(funcs, "expandenv")
	funcs["include"] = func(name string, data interface{}) (string, error) {
		var text bytes.Buffer
		err := all.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	funcs["tpl"] = func(text string, data interface{}) (string, error) {
		var made bytes.Buffer
		one, err := template.Must(all.Clone()).New("tpl").Parse(text)
		if err == nil {
			err = one.Execute(&made, data)
		}
		return made.String(), err
	}
	funcs["toYaml"] = func(value interface{}) (string, error) {
		var text bytes.Buffer
		encoder := yaml.NewEncoder(&text)
		encoder.SetIndent(2)
		err := encoder.Encode(value)
		return strings.TrimSuffix(text.String(), "\n"), err
	}
	funcs["fromYaml"] = func(text string) (map[string]interface{}, error) {
		values := map[string]interface{}{}
		return values, yaml.Unmarshal([]byte(text), &values)
	}
	funcs["required"] = func(complaint string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(complaint)
		}
		return value, nil
	}
	return funcs
}

func main() {
	if len(os.Args) < 6 {
		fail(errors.New("usage: render CHART RELEASE NAMESPACE VALUES.yaml KUBERNETES"))
	}
	directory := os.Args[1]
	values := read(filepath.Join(directory, "values.yaml"))
	merge(read(os.Args[4]), values)
	chart := map[string]interface{}{}
	for key, value := range read(filepath.Join(directory, "Chart.yaml")) {
		chart[strings.ToUpper(key[:1])+key[1:]] = value
	}
	data := map[string]interface{}{
		"Values": values,
		"Chart":  chart,
		"Capabilities": map[string]interface{}{
			"KubeVersion": map[string]interface{}{"Version": os.Args[5]},
		},
		"Release": map[string]interface{}{
			"Name": os.Args[2], "Namespace": os.Args[3], "Service": "Helm",
			"IsInstall": true, "IsUpgrade": false, "Revision": 1,
		},
	}

	all := template.New("chart").Option("missingkey=error")
	all.Funcs(functions(all))
	files, err := filepath.Glob(filepath.Join(directory, "templates", "*"))
	fail(err)
	sort.Strings(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		fail(err)
		_, err = all.New(filepath.Base(file)).Parse(string(text))
		fail(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") {
			continue
		}
		var text bytes.Buffer
		fail(all.ExecuteTemplate(&text, name, data))
		// Its text is for people, and only has to be made.
		if name != "NOTES.txt" && strings.TrimSpace(text.String()) != "" {
			fmt.Printf("---\n# Source: %s\n%s", name, text.String())
		}
	}
}
