/* small.cc: what the tests of the compiler compile: enough templates to make cc1plus work. */
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>
template <typename T> struct Shelf {
    std::map<std::string, std::vector<T>> rows;
};
int main()
{
    Shelf<double> shelf;
    for (int i = 0; i < 100; i++)
        shelf.rows[std::to_string(i)].push_back(i);
    std::vector<int> order(100);
    std::sort(order.begin(), order.end(), [](int a, int b) { return a > b; });
    std::cout << shelf.rows.size() << std::endl;
}
