"Measurements that anybody can renew; not part of the package"
