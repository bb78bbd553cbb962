// What C++ programs need of their runtime: exceptions, virtual functions, containers, streams, static objects.
#include <algorithm>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
};
struct Square : Shape {
    explicit Square(double side) : side(side) {}
    double area() const override { return side * side; }
    double side;
};
struct Says {
    ~Says() { std::cout << "destroyed" << std::endl; }
} at_the_end;

static int deep(int depth) {
    std::string held(100, 'x');
    if (depth == 0) throw std::runtime_error("from " + std::to_string(held.size()));
    return deep(depth - 1) + 1;
}

int main() {
    std::map<std::string, int> counts;
    std::string word;
    while (std::cin >> word) counts[word]++;
    for (const auto &[name, count] : counts) std::cout << std::setw(8) << name << ' ' << count << '\n';
    std::vector<int> numbers(10000);
    std::iota(numbers.begin(), numbers.end(), 1);
    std::sort(numbers.rbegin(), numbers.rend(), [](int a, int b) { return a % 97 < b % 97; });
    std::cout << std::accumulate(numbers.begin(), numbers.end(), 0LL) << '\n';
    std::unique_ptr<Shape> shape = std::make_unique<Square>(1.5);
    std::cout << std::fixed << std::setprecision(3) << shape->area() << '\n';
    try {
        deep(50);
    } catch (const std::exception &error) {
        std::cout << "caught " << error.what() << '\n';
    }
    std::ofstream("from-c++.txt") << "written " << 1 << '\n';
    std::ifstream file("from-c++.txt");
    std::stringstream text;
    text << file.rdbuf();
    std::cout << text.str();
    if (counts.count("throw")) throw std::logic_error("nobody catches this");
    return 0;
}
